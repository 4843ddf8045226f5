//! The link section: tables as the compiler resolved them, and how a schema is made of them.

mod decl;

pub use decl::{
    CheckDecl, ColumnDecl, DefaultDecl, EnumDecl, FORMAT, GeneratedDecl, IdentityDecl, IndexDecl, IndexPartDecl,
    PrimaryKeyDecl, ReferenceDecl, TableDecl, TableForeignKeyDecl, TypeDecl, UniqueDecl,
};
