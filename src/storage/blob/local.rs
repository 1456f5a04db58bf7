//! A directory as blob store.
