//! One file a verb: its flags, what it calls, what it prints.

pub mod bench;
pub mod convert;
pub mod data;
pub mod eval;
pub mod explain;
pub mod filter;
pub mod info;
pub mod list;
pub mod predict;
pub mod size;
pub mod summary;
pub mod train;
