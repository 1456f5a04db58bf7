//! SQLite as record store.
