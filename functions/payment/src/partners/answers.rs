//! What the published answers of billing partners mean. The clients, their doubles, and the tests read
//! the same tables: [`super::stripe_answers`] and [`super::paypal_answers`].
//!
//! A table cannot hold what a partner adds later. An answer without a listed word is therefore decided
//! by what its status *proves*: 429, 409, 408, 424, 5xx, and silence pass or leave the outcome unknown;
//! 401 and 403 need the operator; any other 4xx proves that nothing happened and that waiting changes
//! nothing, so it is the customer's turn.

/// What an answer means for the charge or the refund that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Declined; the same payment method may be accepted later. Lasts minutes to a billing period.
    DeclinedForNow,
    /// Declined; the customer needs another payment method. Final for the attempt.
    Declined,
    /// The customer must confirm the payment at the partner. Lasts until the customer acts.
    CustomerMustAct,
    /// The partner does not know what the customer agreed to, or no longer accepts it. Lasts until the
    /// customer agrees again.
    NoAgreement,
    /// The token names another kind of payment source. Nothing happened; the next kind is tried at
    /// once.
    OtherSource,
    /// The partner never does this with these values. Nothing happened. Final for the attempt.
    Refused,
    /// A value of the request is malformed. Nothing happened. If the value is the customer's payment
    /// source, as [`Meaning::NoAgreement`]; otherwise as [`Meaning::Refused`].
    Malformed,
    /// Not carried out for a reason that the answer does not tell apart from a repeat: as
    /// [`Meaning::Refused`], unless the partner shows that it was done before.
    RefusedUnlessDone,
    /// It was done before, or stands differently than the call needs: the object itself tells.
    LookUp,
    /// The partner does not find the object. It may have expired.
    Gone,
    /// Another request is at work on the object. Its outcome is unknown for some seconds.
    InDoubt,
    /// Nothing happened. Lasts seconds to minutes.
    Later,
    /// Nothing happened, and nothing will until the shop's operator changes the keys, the rights, or the
    /// settings of the account.
    Operator,
}

/// The words of one field or endpoint, each with its meaning.
#[derive(Clone, Copy, Debug)]
pub struct Words(&'static [(Meaning, &'static str)]);

impl Words {
    pub(super) const fn new(words: &'static [(Meaning, &'static str)]) -> Self {
        Self(words)
    }

    /// The word's meaning; `None` for a word that is not listed.
    #[must_use]
    pub fn meaning(&self, word: &str) -> Option<Meaning> {
        let found = self.all().find(|(each, _)| *each == word);
        found.map(|(_, meaning)| meaning)
    }

    /// Every word.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, Meaning)> {
        let groups = self.0.iter();
        groups.flat_map(|(meaning, words)| words.split_whitespace().map(|word| (word, *meaning)))
    }
}
