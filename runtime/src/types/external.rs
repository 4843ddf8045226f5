//! Types of other crates, behind features named like sqlx's. SQLite spellings are those that sqlx decodes.

#[allow(unused_imports, reason = "used by whichever features are on")]
use super::{ColumnType, TypeDesc};

#[cfg(feature = "chrono")]
mod chrono_types {
    use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};

    use super::*;

    impl<Tz: TimeZone> ColumnType for DateTime<Tz> {
        const TYPE: TypeDesc = TypeDesc::new("timestamp with time zone", "timestamp(6)", "TEXT");
    }

    impl ColumnType for NaiveDateTime {
        const TYPE: TypeDesc = TypeDesc::new("timestamp without time zone", "datetime(6)", "TEXT");
    }

    impl ColumnType for NaiveDate {
        const TYPE: TypeDesc = TypeDesc::new("date", "date", "TEXT");
    }

    impl ColumnType for NaiveTime {
        const TYPE: TypeDesc = TypeDesc::new("time without time zone", "time(6)", "TEXT");
    }
}

#[cfg(feature = "time")]
mod time_types {
    use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};

    use super::*;

    impl ColumnType for OffsetDateTime {
        const TYPE: TypeDesc = TypeDesc::new("timestamp with time zone", "timestamp(6)", "TEXT");
    }

    impl ColumnType for PrimitiveDateTime {
        const TYPE: TypeDesc = TypeDesc::new("timestamp without time zone", "datetime(6)", "TEXT");
    }

    impl ColumnType for Date {
        const TYPE: TypeDesc = TypeDesc::new("date", "date", "TEXT");
    }

    impl ColumnType for Time {
        const TYPE: TypeDesc = TypeDesc::new("time without time zone", "time(6)", "TEXT");
    }
}

#[cfg(feature = "uuid")]
impl ColumnType for uuid::Uuid {
    const TYPE: TypeDesc = TypeDesc::new("uuid", "binary(16)", "BLOB");
}

#[cfg(feature = "uuid")]
impl ColumnType for uuid::fmt::Hyphenated {
    const TYPE: TypeDesc = TypeDesc::new("", "char(36)", "TEXT");
}

#[cfg(feature = "json")]
impl ColumnType for serde_json::Value {
    const TYPE: TypeDesc = TypeDesc::new("jsonb", "json", "TEXT");
}

// No driver reads a decimal from SQLite without loss: the type must be named there.
#[cfg(feature = "rust_decimal")]
impl ColumnType for rust_decimal::Decimal {
    const TYPE: TypeDesc = TypeDesc::new("numeric", "decimal(65,30)", "");
}

#[cfg(feature = "bigdecimal")]
impl ColumnType for bigdecimal::BigDecimal {
    const TYPE: TypeDesc = TypeDesc::new("numeric", "decimal(65,30)", "");
}

#[cfg(feature = "ipnetwork")]
impl ColumnType for ipnetwork::IpNetwork {
    const TYPE: TypeDesc = TypeDesc::new("inet", "", "");
}
