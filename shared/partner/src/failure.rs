//! Failed calls, and how far each one got.

use std::borrow::Cow;
use std::fmt;

use platform::Source;
use platform::outbound::HttpsError;
use platform::secret::SecretError;

/// How far a failed call got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The partner did nothing, and only the operator can correct the cause: the keys are missing
    /// or refused, or the account lacks a permission.
    NotConfigured,
    /// The partner provably did nothing.
    NothingDone,
    /// The partner may have carried out the call.
    Unknown,
}

/// A partner's refusal: an answer with a status outside 200 to 299. It is logged, so it contains
/// only codes.
pub trait Refusal: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// Parses the answer.
    fn from_answer(status: u16, body: &[u8]) -> Self;

    /// How far a call with this answer got. An unknown code proves only as much as its status does:
    /// a 5xx MUST be [`Reach::Unknown`].
    fn reach(&self, status: u16) -> Reach;
}

/// An answer that can be parsed but not used. It names no customer, because it is logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot be used: {0}")]
pub struct Unusable(Cow<'static, str>);

impl Unusable {
    /// An unusable answer, with what is wrong with it.
    pub fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self(what.into())
    }

    /// Checks that an answer is about the requested object. Both arguments are the partner's IDs.
    pub fn unless_same(answered: &str, asked: &str) -> Result<(), Self> {
        if answered == asked {
            Ok(())
        } else {
            Err(Self::new("it is about something else"))
        }
    }
}

/// A call without a usable answer. It names no customer, because it is logged.
#[derive(Debug, thiserror::Error)]
pub enum CallFailure<R> {
    /// No key is available; nothing was sent.
    #[error(transparent)]
    NoKeys(#[from] SecretError),
    /// No access token is available, because the call for it failed; nothing else was sent.
    #[error("no access token: {0}")]
    NoToken(Box<Self>),
    /// The reference cannot be one of this partner; nothing was sent.
    #[error("the reference is not one of the partner's")]
    BadReference,
    /// There was no answer, or only a part of one.
    #[error(transparent)]
    NoAnswer(#[from] HttpsError),
    /// The partner refused or failed, with this status.
    #[error("the partner answered {0}: {1}")]
    Refused(u16, R),
    /// The partner reported success, but its answer cannot be used.
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
    /// The same failure for a call that moves neither money nor goods: any effect it had does not
    /// matter.
    fn for_harmless(self) -> Self {
        match self {
            Self::NotConfigured => Self::NotConfigured,
            Self::NothingDone | Self::Unknown => Self::NothingDone,
        }
    }
}

/// An error that says how far a call got.
pub trait FromReach: Sized {
    /// The error for a call that got this far.
    fn from_reach(reach: Reach, source: Source) -> Self;

    /// The error for a call that provably had no effect.
    fn unavailable(source: impl Into<Source>) -> Self {
        Self::from_reach(Reach::NothingDone, source.into())
    }

    /// The error for a call that may have been carried out.
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
