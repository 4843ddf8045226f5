//! The section of the running program.
//!
//! ELF is tested by running programs. The bounds on Mach-O and PE follow the documentation of their linkers; only that files of
//! these formats are read is tested.

use super::{SectionError, TableDecl, parse_section};

// Without a record of its own a program that derives no table has no section, and the linker would not find its bounds.
#[used]
#[cfg_attr(not(any(target_vendor = "apple", windows)), unsafe(link_section = "schemadiff"))]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__schemadiff"))]
#[cfg_attr(windows, unsafe(link_section = ".schmd$m"))]
static MARKER: [u8; 8] = [0; 8];

#[cfg(not(windows))]
mod bounds {
    unsafe extern "C" {
        #[cfg_attr(not(target_vendor = "apple"), link_name = "__start_schemadiff")]
        #[cfg_attr(target_vendor = "apple", link_name = "\u{1}section$start$__DATA$__schemadiff")]
        pub(super) static START: u8;
        #[cfg_attr(not(target_vendor = "apple"), link_name = "__stop_schemadiff")]
        #[cfg_attr(target_vendor = "apple", link_name = "\u{1}section$end$__DATA$__schemadiff")]
        pub(super) static STOP: u8;
    }
}

#[cfg(windows)]
mod bounds {
    // The linker sorts the parts of a section by what follows the `$`.
    #[used]
    #[unsafe(link_section = ".schmd$a")]
    pub(super) static START: u8 = 0;
    #[used]
    #[unsafe(link_section = ".schmd$z")]
    pub(super) static STOP: u8 = 0;
}

/// The tables that are linked into the running program.
///
/// # Errors
/// When the section is damaged, or parts of the program were built with a newer schemadiff.
pub fn own_tables() -> Result<Vec<TableDecl>, SectionError> {
    std::hint::black_box(&MARKER);
    let start = &raw const bounds::START;
    let len = (&raw const bounds::STOP).addr().saturating_sub(start.addr());
    // SAFETY: the linker defines the two bounds around the section's bytes, which are initialized, constant and live as
    // long as the program.
    #[allow(unused_unsafe, reason = "the bounds are foreign only where the linker makes them")]
    let bytes = unsafe { std::slice::from_raw_parts(start, len) };
    parse_section(bytes)
}
