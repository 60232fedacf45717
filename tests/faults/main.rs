//! Never twice, never lost: histories with crashes at every effect.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod histories;
mod matrix;
mod model;
mod promises;
mod unavailable;
