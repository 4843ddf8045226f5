//! What derived code names. No part of the public interface: it changes with the derive, which has the same version.

pub use crate::{
    __place as place,
    artifact::encode::{
        DerivedTable, NotNull, Probe, Reference, check_default, check_not_null, check_nullable, check_reference,
        record, record_len,
    },
    types::{ColumnType, Filling, TypeDesc},
};

/// Puts a record into the link section.
#[doc(hidden)]
#[macro_export]
macro_rules! __place {
    ($text:literal, [$($filling:expr),*]) => {
        const _: () = {
            const FILLINGS: &[$crate::__private::Filling] = &[$($filling),*];
            const LEN: usize = $crate::__private::record_len($text, FILLINGS);
            #[used]
            #[cfg_attr(not(any(target_vendor = "apple", windows)), unsafe(link_section = "schemadiff"))]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__schemadiff"))]
            #[cfg_attr(windows, unsafe(link_section = ".schmd$m"))]
            static RECORD: [u8; LEN] = $crate::__private::record::<LEN>($text, FILLINGS);
        };
    };
}
