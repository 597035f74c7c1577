//! Placeholder header, replaced by the first slice.
pub mod emitter;
