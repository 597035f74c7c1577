//! What of a file an HTTP answer carries: its type, the ranges and the coding that were asked for, and
//! whether the client has it already (RFC 9110 §8, §12 to §14).
//!
//! Everything here is a function from header fields and figures of a file to a decision. It opens no
//! file and knows no request; dates are seconds since 1970, which the caller reads from the fields.

mod coding;
mod condition;
mod media;
mod range;

pub use coding::{Coding, choose};
pub use condition::{Conditions, Validators, Verdict, allows_range};
pub use media::{is_compressible, media_type};
pub use range::{MAX_RANGES, Ranges, ranges};
