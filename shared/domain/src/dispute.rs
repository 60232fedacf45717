//! Customers' disputes of a charge. They are for people; only what lost ones have taken of the charge
//! changes an order: it is no longer shipped once nothing is left.

use std::cmp::Reverse;

use strum::{EnumString, IntoStaticStr};

use super::{Money, Timestamp};

/// The state of a customer's dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum DisputeState {
    /// The bank has not decided yet.
    Open,
    /// The shop won and keeps the money.
    Won,
    /// The shop lost the money.
    Lost,
}

impl DisputeState {
    /// The name in answers and in the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.into()
    }

    /// Lower ranks are more important: an open dispute needs a response, and a lost one cost money.
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
    /// The partner's ID of the dispute; `None` for one that was stored before IDs were kept.
    pub id: Option<String>,
    /// The state at the partner.
    pub state: DisputeState,
    /// The disputed amount, in the order's currency; once the dispute is lost, the amount that it
    /// took. Zero if that is not known.
    pub amount: Money,
    /// The partner's time of that state, or the time of the query where the partner gives none. Of
    /// two reports the later one wins, whatever their states.
    pub at: Timestamp,
    /// When this service first learned of the dispute.
    pub since: Timestamp,
}

impl Dispute {
    /// The amount that the customer has back because of it.
    #[must_use]
    pub fn lost_amount(&self) -> Money {
        match self.state {
            DisputeState::Lost => self.amount,
            DisputeState::Open | DisputeState::Won => Money::ZERO,
        }
    }

    /// The maximum number of disputes that an order keeps.
    pub const MOST: usize = 20;

    /// Sorts the most important first: open before lost before won, then the latest.
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
            amount: Money::ZERO,
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
        // Two equal ones are sorted by ID.
        assert_eq!(order, ["e", "f", "g", "c", "d", "b", "a"]);
    }
}
