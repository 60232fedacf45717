//! The wire between a real client and its double, on which every request is an effect.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use platform::outbound::Https;

use super::world::{Fate, World};
use crate::partners::{DoubleReply, DoubleRequest, Front, Mishap, PartnerDouble, Passage};

/// Calls the double from one process of `world`. A throttled request is answered with 429 and the
/// body `too_many`.
pub(super) fn https(
    world: &World,
    double: Arc<dyn PartnerDouble>,
    base: &str,
    too_many: &'static str,
) -> Https {
    let wire = Wire {
        world: world.clone(),
        double: double.clone(),
        too_many,
    };
    let front = Front::with_passage(double, Arc::new(wire));
    Https::with_connector(front.connector(), base)
}

/// Every request to a double is an effect of the world.
#[derive(Debug)]
struct Wire {
    world: World,
    double: Arc<dyn PartnerDouble>,
    too_many: &'static str,
}

impl Passage for Wire {
    fn fate<'a>(
        &'a self,
        request: &'a DoubleRequest,
    ) -> Pin<Box<dyn Future<Output = Option<Mishap>> + Send + 'a>> {
        Box::pin(async move {
            let name = format!("{} {}", request.method, request.path);
            let fate = self.world.effect(&name).await;
            self.world.state().touched = true;
            match fate {
                Fate::Done => None,
                Fate::RequestLost => {
                    let (double, request) = (self.double.clone(), request.clone());
                    let world = self.world.clone();
                    self.world.lose(&name, move || {
                        world.state().touched = true;
                        double.handle(&request);
                    });
                    Some(Mishap::RequestLost)
                }
                Fate::AnswerLost => Some(Mishap::AnswerLost),
                Fate::Throttled => Some(Mishap::Instead(DoubleReply::new(429, self.too_many))),
            }
        })
    }
}
