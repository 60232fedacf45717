//! Customers' disputes of a charge. They are flags for people: no step looks at them.

use std::cmp::Reverse;

use strum::{EnumString, IntoStaticStr};

use super::Timestamp;

/// How a customer's dispute of a charge stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum DisputeState {
    /// The bank has not decided.
    Open,
    /// The shop keeps the money.
    Won,
    /// The money is gone.
    Lost,
}

impl DisputeState {
    /// The name in answers and in the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.into()
    }

    /// Smaller for what matters more: an open dispute wants an answer, a lost one cost money.
    fn rank(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Lost => 1,
            Self::Won => 2,
        }
    }
}

/// A customer's dispute of the captured charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    /// The partner's id of it; `None` for one that was stored before ids were kept.
    pub id: Option<String>,
    /// How it stands.
    pub state: DisputeState,
    /// The partner's time of that state, or the time at which it was asked where it has none: of two
    /// pieces of news the later one holds, in any direction.
    pub at: Timestamp,
    /// Since when this service knows of the dispute.
    pub since: Timestamp,
}

impl Dispute {
    /// How many disputes of one charge an order keeps.
    pub const MOST: usize = 20;

    /// Puts what matters most first: open before lost before won, then the latest.
    pub fn sort(disputes: &mut [Self]) {
        disputes.sort_by(|one, other| {
            let key = |dispute: &Self| (dispute.state.rank(), Reverse(dispute.at));
            key(one)
                .cmp(&key(other))
                .then_with(|| one.id.cmp(&other.id))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_names_that_are_stored() {
        for (name, state) in [
            ("open", DisputeState::Open),
            ("won", DisputeState::Won),
            ("lost", DisputeState::Lost),
        ] {
            assert_eq!((state.as_str(), name.parse()), (name, Ok(state)));
        }
    }

    #[test]
    fn open_comes_before_lost_before_won_and_then_the_latest() {
        let dispute = |id: &str, state, at| Dispute {
            id: Some(id.to_owned()),
            state,
            at: Timestamp::from_millis(at),
            since: Timestamp::from_millis(0),
        };
        let mut disputes = [
            dispute("a", DisputeState::Won, 9),
            dispute("b", DisputeState::Lost, 1),
            dispute("c", DisputeState::Open, 1),
            dispute("d", DisputeState::Lost, 2),
            dispute("e", DisputeState::Open, 3),
            dispute("g", DisputeState::Open, 2),
            dispute("f", DisputeState::Open, 2),
        ];
        Dispute::sort(&mut disputes);
        let order: Vec<_> = disputes
            .iter()
            .filter_map(|each| each.id.as_deref())
            .collect();
        // Of two that are alike, the one whose id comes first.
        assert_eq!(order, ["e", "f", "g", "c", "d", "b", "a"]);
    }
}
