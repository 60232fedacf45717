//! Never twice, never lost: histories in which everything crashes everywhere.

mod histories;
