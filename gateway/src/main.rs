//! The `roomwire` binary.
fn main() {}
