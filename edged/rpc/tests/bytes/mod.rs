//! One check for all golden bytes: writes these, reads them back as the same.

use std::fmt::Debug;

use edged_rpc::frame::{decode, words};
use serde::Serialize;
use serde::de::DeserializeOwned;

#[track_caller]
pub(crate) fn check<T>(name: &str, message: &T, golden: &str)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let bytes = words(message).expect("small");
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden, "{name}");
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(message), "{name}");
}
