//! What the clients of all partners do alike: they make a call, say how far a failed one got, and let
//! neither free text nor a path from outside through.

mod call;
mod failure;
mod text;

pub use call::{Call, KeyScheme, KeyedApi, read, send};
pub use failure::{CallFailure, FromReach, Reach, Refusal, Unusable};
pub use text::{Alphabet, PathSegment, sanitize};
