//! SQL types of Rust types, resolved by the compiler: an alias, a newtype or a generic is what it stands for.

mod desc;
mod encoded;
mod external;
mod standard;

pub(crate) use desc::SEPARATOR;
pub use desc::TypeDesc;
pub(crate) use encoded::copy;
pub use encoded::{EncodedType, Filling};

/// A Rust type that can be a column.
///
/// Derive it for newtypes (`struct UserId(i64);`) and for enums without fields. Implement it by hand where neither
/// fits:
///
/// ```
/// use schemadiff::{ColumnType, TypeDesc};
///
/// struct Point(f64, f64);
///
/// impl ColumnType for Point {
///     const TYPE: TypeDesc = TypeDesc::new("point", "point", "");
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a column type",
    label = "no SQL type is known for `{Self}`",
    note = "derive `schemadiff::ColumnType` for it, or name the type: `#[column(ty = \"..\")]`, or leave the field out: `#[column(skip)]`",
    note = "types of other crates need the feature of schemadiff of that name: `chrono`, `time`, `uuid`, `json`, `rust_decimal`, `bigdecimal`, `ipnetwork`"
)]
pub trait ColumnType {
    /// Its type on each engine, and whether it may be NULL.
    const TYPE: TypeDesc;

    /// The type as the link section has it: follows from `TYPE`.
    #[doc(hidden)]
    const ENCODED: &'static EncodedType = &EncodedType::of(&Self::TYPE);

    /// What derives copy into the link section: follows from `TYPE`.
    #[doc(hidden)]
    const FILLING: Filling = Filling::encoded(&Self::TYPE, Self::ENCODED);
}
