//! Why a call brought nothing, and how far it got.

use std::borrow::Cow;
use std::fmt;

use platform::Source;
use platform::outbound::HttpsError;
use platform::secret::SecretError;

/// How far a failed call got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The partner did nothing, and only the operator can change that: the keys are missing or refused, or
    /// the account may not do this.
    NotConfigured,
    /// The partner provably did nothing.
    NothingDone,
    /// The partner may have carried it out.
    Unknown,
}

/// How one partner says no: an answer with a status outside of 200 to 299. It is logged, so it holds
/// codes only.
pub trait Refusal: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// Reads the answer.
    fn from_answer(status: u16, body: &[u8]) -> Self;

    /// How far the call got that was answered so. A code that is not known proves as much as its status: a
    /// 5xx MUST be [`Reach::Unknown`].
    fn reach(&self, status: u16) -> Reach;
}

/// An answer that can be read and still cannot be used. Names no customer: it is logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot be used: {0}")]
pub struct Unusable(Cow<'static, str>);

impl Unusable {
    /// What is wrong with it.
    pub fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self(what.into())
    }

    /// An answer must be about what was asked: both are ids of the partner's.
    pub fn unless_same(answered: &str, asked: &str) -> Result<(), Self> {
        if answered == asked {
            Ok(())
        } else {
            Err(Self::new("it is about something else"))
        }
    }
}

/// A call without an answer that can be used. Names no customer: it is logged.
#[derive(Debug, thiserror::Error)]
pub enum CallFailure<R> {
    /// There is no key to call with; nothing was sent.
    #[error(transparent)]
    NoKeys(#[from] SecretError),
    /// There is no access token to call with, because of another call; nothing else was sent.
    #[error("no access token: {0}")]
    NoToken(Box<Self>),
    /// The reference cannot be one of the partner's; nothing was sent.
    #[error("the reference is not one of the partner's")]
    BadReference,
    /// There is no answer, or only a part of one.
    #[error(transparent)]
    NoAnswer(#[from] HttpsError),
    /// The partner refused or failed, with this status.
    #[error("the partner answered {0}: {1}")]
    Refused(u16, R),
    /// The partner reports success, and the answer cannot be used.
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

impl<R: Refusal> CallFailure<R> {
    /// How far the call got.
    pub fn reach(&self) -> Reach {
        match self {
            Self::NoKeys(error) if error.needs_operator() => Reach::NotConfigured,
            Self::NoKeys(_) | Self::BadReference => Reach::NothingDone,
            Self::NoToken(failure) => failure.reach().for_harmless(),
            Self::NoAnswer(error) if error.is_harmless() => Reach::NothingDone,
            Self::NoAnswer(_) | Self::Unusable(_) => Reach::Unknown,
            Self::Refused(status, refusal) => refusal.reach(*status),
        }
    }
}

impl Reach {
    /// The same for a call that moves neither money nor goods: whatever it did counts for nothing.
    fn for_harmless(self) -> Self {
        match self {
            Self::NotConfigured => Self::NotConfigured,
            Self::NothingDone | Self::Unknown => Self::NothingDone,
        }
    }
}

/// An error that says how far a call got.
pub trait FromReach: Sized {
    /// The error for a call that got so far.
    fn from_reach(reach: Reach, source: Source) -> Self;

    /// The error for what provably did nothing.
    fn unavailable(source: impl Into<Source>) -> Self {
        Self::from_reach(Reach::NothingDone, source.into())
    }

    /// The error for what may have been carried out.
    fn unanswered(source: impl Into<Source>) -> Self {
        Self::from_reach(Reach::Unknown, source.into())
    }

    /// The error for a call that moves neither money nor goods, however far it got.
    fn from_harmless<R: Refusal>(failure: CallFailure<R>) -> Self {
        Self::from_reach(failure.reach().for_harmless(), failure.into())
    }

    /// The error for a call that moves money or goods.
    fn from_write<R: Refusal>(failure: CallFailure<R>) -> Self {
        Self::from_reach(failure.reach(), failure.into())
    }
}
