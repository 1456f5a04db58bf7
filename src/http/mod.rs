//! HTTP: what is said to browsers and tools.

pub mod pages;
pub mod problems;
