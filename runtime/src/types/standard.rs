//! Types of the standard library, spelled as sqlx's drivers decode them.

use std::{borrow::Cow, num, rc::Rc, sync::Arc};

use super::{ColumnType, TypeDesc};

macro_rules! types {
    ($($ty:ty => $postgres:literal, $mysql:literal, $sqlite:literal;)*) => {
        $(impl ColumnType for $ty {
            const TYPE: TypeDesc = TypeDesc::new($postgres, $mysql, $sqlite);
        })*
    };
}

types! {
    bool => "boolean", "tinyint(1)", "INTEGER";
    // The one type that PostgreSQL's drivers decode into `i8`.
    i8 => "\"char\"", "tinyint", "INTEGER";
    i16 => "smallint", "smallint", "INTEGER";
    i32 => "integer", "int", "INTEGER";
    i64 => "bigint", "bigint", "INTEGER";
    // PostgreSQL has no unsigned integers. `u8` is not here: `Vec<u8>` is bytes.
    u16 => "", "smallint unsigned", "INTEGER";
    u32 => "", "int unsigned", "INTEGER";
    u64 => "", "bigint unsigned", "";
    num::NonZeroI16 => "smallint", "smallint", "INTEGER";
    num::NonZeroI32 => "integer", "int", "INTEGER";
    num::NonZeroI64 => "bigint", "bigint", "INTEGER";
    f32 => "real", "float", "REAL";
    f64 => "double precision", "double", "REAL";
    str => "text", "text", "TEXT";
    String => "text", "text", "TEXT";
    [u8] => "bytea", "longblob", "BLOB";
    Vec<u8> => "bytea", "longblob", "BLOB";
}

impl<const N: usize> ColumnType for [u8; N] {
    const TYPE: TypeDesc = <[u8]>::TYPE;
}

impl<T: ColumnType> ColumnType for Option<T> {
    const TYPE: TypeDesc = T::TYPE.nullable();
}

impl<T: ColumnType> ColumnType for Vec<T> {
    const TYPE: TypeDesc = T::TYPE.array();
}

macro_rules! pointers {
    ($($pointer:ident),*) => {
        $(impl<T: ColumnType + ?Sized> ColumnType for $pointer<T> {
            const TYPE: TypeDesc = T::TYPE;
        })*
    };
}

pointers!(Box, Rc, Arc);

impl<T: ColumnType + ?Sized> ColumnType for &T {
    const TYPE: TypeDesc = T::TYPE;
}

impl<T: ColumnType + ToOwned + ?Sized> ColumnType for Cow<'_, T> {
    const TYPE: TypeDesc = T::TYPE;
}
