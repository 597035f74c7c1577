//! Rules of the configuration as a whole.

use super::*;

#[test]
fn an_empty_file_says_the_defaults() {
    assert_eq!(Config::from_toml("roomwire.toml", "", []), Ok(Config::default()));
}
