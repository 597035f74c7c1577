//! Roomwire's gateway as a library.

pub mod config;
