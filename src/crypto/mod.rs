//! Keys and bytes.
