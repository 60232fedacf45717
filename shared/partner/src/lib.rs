//! What the clients of all partners share: making a call, classifying how far a failed one got, and
//! keeping out free text and unsafe paths.

mod call;
mod failure;
mod text;

pub use call::{Call, KeyScheme, KeyedApi, read, send};
pub use failure::{CallFailure, FromReach, Reach, Refusal, Unusable};
pub use text::{Alphabet, PathSegment, sanitize};
