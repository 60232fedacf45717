//! PayPal's certificates by name. Anyone can invent names, so fetches from PayPal are limited, and
//! an invented name never displaces a certificate that PayPal has used.

use std::collections::VecDeque;
use std::time::Duration;

use domain::Timestamp;
use rustls_pki_types::CertificateDer;

/// The maximum number of stored certificates that have signed for this shop. PayPal uses one at a
/// time.
const PROVEN: usize = 8;

/// The maximum number of other stored certificates: of other shops, or without a matching signature
/// so far.
const UNPROVEN: usize = 8;

/// How long a name that PayPal does not know is not requested again.
const MISSING_FOR: Duration = Duration::from_mins(10);

/// The maximum number of fetches in a row, and the time after which another one is allowed.
const BURST: u32 = 5;
const REFILL: Duration = Duration::from_secs(30);

/// The maximum number of stored missing names: more than the budget allows within [`MISSING_FOR`].
const MISSING: usize = 32;

/// The cached knowledge about a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    Certificate(CertificateDer<'static>),
    /// PayPal did not know it recently.
    Missing,
    Nothing,
}

/// The certificates known in this process.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    proven: VecDeque<(String, CertificateDer<'static>)>,
    unproven: VecDeque<(String, CertificateDer<'static>)>,
    missing: VecDeque<(String, Timestamp)>,
    budget: Budget,
}

impl Certificates {
    pub(super) fn find(&self, name: &str, now: Timestamp) -> Known {
        let kept = self.proven.iter().chain(&self.unproven);
        let found = kept.into_iter().find(|(kept, _)| kept == name);
        if let Some((_, certificate)) = found {
            return Known::Certificate(certificate.clone());
        }
        let is_missing = |(missing, since): &(String, Timestamp)| {
            missing == name && now < since.plus(MISSING_FOR)
        };
        if self.missing.iter().any(is_missing) {
            return Known::Missing;
        }
        Known::Nothing
    }

    /// Whether another certificate may be fetched now. If so, the fetch is counted.
    pub(super) fn may_fetch(&mut self, now: Timestamp) -> bool {
        self.budget.spend(now)
    }

    pub(super) fn fetched(&mut self, name: &str, certificate: CertificateDer<'static>) {
        push(&mut self.unproven, UNPROVEN, (name.to_owned(), certificate));
    }

    pub(super) fn not_found(&mut self, name: &str, now: Timestamp) {
        push(&mut self.missing, MISSING, (name.to_owned(), now));
    }

    /// A signature of this shop's webhook matches the certificate, so it is PayPal's.
    pub(super) fn prove(&mut self, name: &str) {
        let place = self.unproven.iter().position(|(kept, _)| kept == name);
        if let Some(certificate) = place.and_then(|place| self.unproven.remove(place)) {
            push(&mut self.proven, PROVEN, certificate);
        }
    }
}

/// Adds an entry and drops the oldest one if there are too many.
fn push<T>(kept: &mut VecDeque<T>, most: usize, new: T) {
    if kept.len() >= most {
        kept.pop_front();
    }
    kept.push_back(new);
}

/// The remaining fetches, as a token bucket.
#[derive(Debug, Default)]
struct Budget {
    spent: u32,
    /// Since when the next token accumulates; meaningless while none is spent.
    since: Option<Timestamp>,
}

impl Budget {
    fn spend(&mut self, now: Timestamp) -> bool {
        let mut since = self.since.unwrap_or(now);
        while self.spent > 0 && now >= since.plus(REFILL) {
            self.spent -= 1;
            since = since.plus(REFILL);
        }
        self.since = Some(if self.spent == 0 { now } else { since });
        let may = self.spent < BURST;
        self.spent += u32::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn certificate(byte: u8) -> CertificateDer<'static> {
        CertificateDer::from(vec![byte])
    }

    #[test]
    fn a_budget_that_is_spent_grows_again_to_no_more_than_it_was() {
        let mut budget = Budget::default();
        let mut spend = |seconds: i64| (0..100).filter(|_| budget.spend(at(seconds))).count();
        assert_eq!(spend(0), 5);
        assert_eq!(spend(29), 0);
        assert_eq!(spend(30), 1);
        assert_eq!(spend(89), 1);
        assert_eq!(spend(90), 1);
        assert_eq!(spend(100_000), 5);
        assert_eq!(spend(100_029), 0);
        // A clock that goes back adds no tokens.
        assert_eq!(spend(0), 0);
    }

    #[test]
    fn certificates_of_strangers_do_not_drive_out_the_one_that_has_signed() {
        let mut kept = Certificates::default();
        kept.fetched("true", certificate(0));
        kept.prove("true");
        for byte in 1..=100 {
            kept.fetched(&byte.to_string(), certificate(byte));
            kept.not_found(&format!("not-{byte}"), at(0));
        }
        assert_eq!(kept.find("true", at(0)), Known::Certificate(certificate(0)));
        assert_eq!(
            kept.find("100", at(0)),
            Known::Certificate(certificate(100))
        );
        assert_eq!(kept.find("1", at(0)), Known::Nothing);
        assert_eq!(kept.find("not-100", at(599)), Known::Missing);
        assert_eq!(kept.find("not-100", at(600)), Known::Nothing);
        assert_eq!(kept.unproven.len(), UNPROVEN);
        assert_eq!(kept.missing.len(), MISSING);
    }
}
