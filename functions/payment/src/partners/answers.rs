//! The meaning of the billing partners' published answers. The clients, their doubles, and the
//! tests share the same tables: [`super::stripe_answers`] and [`super::paypal_answers`].
//!
//! A table cannot contain codes that a partner adds later. An answer without a listed code is
//! therefore decided by what its status *proves*. After 429, 409, 408, 424, 5xx, or no answer, the
//! condition passes or the outcome is unknown. 401 and 403 need the operator. Any other 4xx proves
//! that nothing happened and that waiting changes nothing, so the customer must act.

/// The meaning of an answer for the requested charge or refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Declined; the same payment method may be accepted later. Lasts from minutes to a billing
    /// period.
    DeclinedForNow,
    /// Declined; the customer needs another payment method. Final for the attempt.
    Declined,
    /// The customer must confirm the payment at the partner. Lasts until the customer acts.
    CustomerMustAct,
    /// The partner does not know the agreed customer or payment method, or no longer accepts it.
    /// Lasts until the customer agrees again.
    NoAgreement,
    /// The token belongs to another kind of payment source. Nothing happened; the next kind is
    /// tried at once.
    OtherSource,
    /// The partner never accepts these values. Nothing happened. Final for the attempt.
    Refused,
    /// A value of the request is malformed. Nothing happened. If the value is the customer's
    /// payment source, it is treated as [`Meaning::NoAgreement`], otherwise as
    /// [`Meaning::Refused`].
    Malformed,
    /// Not carried out, possibly because it was carried out before: treated as [`Meaning::Refused`]
    /// unless the partner shows that it was.
    RefusedUnlessDone,
    /// It was carried out before, or the object is in another state than the call needs: look the
    /// object up.
    LookUp,
    /// The partner does not find the object. It may have expired.
    Gone,
    /// Another request is being processed on the object. Its outcome is unknown for some seconds.
    InDoubt,
    /// Nothing happened. Lasts seconds to minutes.
    Later,
    /// Nothing happened, and nothing will until the shop's operator changes the keys, the
    /// permissions, or the settings of the account.
    Operator,
}

/// The codes of one field or endpoint, each with its meaning.
#[derive(Clone, Copy, Debug)]
pub struct Words(&'static [(Meaning, &'static str)]);

impl Words {
    pub(super) const fn new(words: &'static [(Meaning, &'static str)]) -> Self {
        Self(words)
    }

    /// The meaning of a code; `None` if the code is not listed.
    #[must_use]
    pub fn meaning(&self, word: &str) -> Option<Meaning> {
        let found = self.all().find(|(each, _)| *each == word);
        found.map(|(_, meaning)| meaning)
    }

    /// Every code.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, Meaning)> {
        let groups = self.0.iter();
        groups.flat_map(|(meaning, words)| words.split_whitespace().map(|word| (word, *meaning)))
    }
}
