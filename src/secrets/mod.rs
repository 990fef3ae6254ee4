//! Tokens and the keys that guard them. No type here shows its secret through `Debug` or `Display`.
//!
//! A token is looked up by a keyed digest, so a stolen database opens nothing. A sealed copy, kept only where the
//! operator has set a sealing key, lets a token be shown again by a command that leaves an event.

mod keys;
mod sealed;
mod token;

pub use keys::{NotAKey, SealingKey, TokenDigestKey};
pub use sealed::{Sealer, forget_sealed, open_sealed, store_sealed};
pub use token::{NotAToken, Token, TokenDigest};
