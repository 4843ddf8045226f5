//! The link section: tables as the compiler resolved them, and how a schema is made of them.

mod decl;
pub(crate) mod encode;
mod index_name;
mod lower;
mod names;
pub mod naming;
mod own;
mod section;

pub use decl::{
    CheckDecl, ColumnDecl, DefaultDecl, EnumDecl, FORMAT, GeneratedDecl, IdentityDecl, IndexDecl, IndexPartDecl,
    PrimaryKeyDecl, ReferenceDecl, TableDecl, TableForeignKeyDecl, TypeDecl, UniqueDecl,
};
pub use lower::{Hints, LowerError, Lowered, lower};
pub use own::own_tables;
pub use section::{MAGIC, SECTION_NAMES, SectionError, parse_section};
