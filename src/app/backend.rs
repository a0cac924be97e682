//! The store this build keeps its data in. The one line that names it is held by
//! `tests/architecture.rs`.

pub use crate::store::sqlite::{self as files, Sqlite as Backend};
pub use files::{JournalReader, Repaired, begin_anew, held, is_held, log_damage, repair};
