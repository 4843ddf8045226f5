//! A row as serde sees it: a struct by the names of its columns, a tuple by their order, or the one value that it has.

use serde::{
    Deserialize, Deserializer,
    de::{
        Error as _, IntoDeserializer, Visitor,
        value::{Error, MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::Value;

use crate::backend::Cell;

/// The values of the columns that a function is given, in the order in which its call names them.
#[derive(Debug, Clone)]
pub(crate) struct Row(pub Vec<(String, Cell)>);

impl Row {
    /// As a value of the application.
    pub(super) fn read<'de, T: Deserialize<'de>>(self) -> Result<T, String> {
        T::deserialize(self).map_err(|e| format!("the row is no `{}`: {e}", std::any::type_name::<T>()))
    }

    fn only(self) -> Result<Of, Error> {
        match <[_; 1]>::try_from(self.0) {
            Ok([(_, cell)]) => Ok(Of(cell)),
            Err(several) => Err(Error::custom(format!("it has {} columns: take a struct or a tuple", several.len()))),
        }
    }
}

macro_rules! the_only_cell {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.only()?.$method(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Row {
    type Error = Error;

    the_only_cell! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_option
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(MapDeserializer::new(self.0.into_iter().map(|(name, cell)| (name, Of(cell)))))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.as_slice() {
            [(_, Cell::Bytes(_) | Cell::Json(_))] => self.only()?.deserialize_seq(visitor),
            _ => visitor.visit_seq(SeqDeserializer::new(self.0.into_iter().map(|(_, cell)| Of(cell)))),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! { unit unit_struct tuple_struct map struct identifier ignored_any }
}

/// One value, read as what the application asks for.
struct Of(Cell);

impl Of {
    fn text(self) -> Result<String, Error> {
        match self.0 {
            Cell::Text(text) => Ok(text),
            Cell::Bool(value) => Ok(value.to_string()),
            Cell::Integer(number) => Ok(number.to_string()),
            Cell::Float(number) => Ok(number.to_string()),
            Cell::Json(Value::String(text)) => Ok(text),
            Cell::Json(value) => Ok(value.to_string()),
            Cell::Bytes(bytes) => String::from_utf8(bytes).map_err(Error::custom),
            Cell::Null => Err(Error::custom("it is NULL: take an Option")),
        }
    }

    fn number<T: std::str::FromStr<Err: std::fmt::Display>>(self) -> Result<T, Error> {
        self.text()?.trim().parse().map_err(Error::custom)
    }

    fn json(self) -> Result<Value, Error> {
        match self.0 {
            Cell::Json(value) => Ok(value),
            other => serde_json::from_str(&Self(other).text()?).map_err(Error::custom),
        }
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.number()?)
        })*
    };
}

macro_rules! from_json {
    ($($method:ident ($($arg:ident: $ty:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(self, $($arg: $ty,)* visitor: V) -> Result<V::Value, Error> {
            self.json()?.$method($($arg,)* visitor).map_err(Error::custom)
        })*
    };
}

impl<'de> Deserializer<'de> for Of {
    type Error = Error;

    numbers! {
        deserialize_i8 visit_i8 deserialize_i16 visit_i16 deserialize_i32 visit_i32 deserialize_i64 visit_i64
        deserialize_i128 visit_i128 deserialize_u8 visit_u8 deserialize_u16 visit_u16 deserialize_u32 visit_u32
        deserialize_u64 visit_u64 deserialize_u128 visit_u128 deserialize_f32 visit_f32 deserialize_f64 visit_f64
    }

    from_json! {
        deserialize_map()
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_tuple_struct(name: &'static str, len: usize)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Cell::Null => visitor.visit_none(),
            Cell::Bool(value) => visitor.visit_bool(value),
            Cell::Integer(number) => visitor.visit_i64(number),
            Cell::Float(number) => visitor.visit_f64(number),
            Cell::Text(text) => visitor.visit_string(text),
            Cell::Bytes(bytes) => visitor.visit_byte_buf(bytes),
            Cell::Json(value) => value.deserialize_any(visitor).map_err(Error::custom),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Cell::Bool(value) => visitor.visit_bool(value),
            Cell::Integer(number) => visitor.visit_bool(number != 0),
            other => match Self(other).text()?.as_str() {
                "t" | "true" | "1" => visitor.visit_bool(true),
                "f" | "false" | "0" => visitor.visit_bool(false),
                other => Err(Error::custom(format!("{other:?} is no boolean"))),
            },
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_byte_buf(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Cell::Bytes(bytes) => visitor.visit_byte_buf(bytes),
            other => visitor.visit_byte_buf(Self(other).text()?.into_bytes()),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Cell::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Cell::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.into_iter())),
            other => Self(other).json()?.deserialize_seq(visitor).map_err(Error::custom),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Cell::Json(value) => value.deserialize_enum(name, variants, visitor).map_err(Error::custom),
            other => Self(other).text()?.into_deserializer().deserialize_enum(name, variants, visitor),
        }
    }

    forward_to_deserialize_any! { unit unit_struct identifier ignored_any }
}

impl<'de> IntoDeserializer<'de, Error> for Of {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[(&str, Cell)]) -> Row {
        Row(cells.iter().map(|(name, cell)| ((*name).to_owned(), cell.clone())).collect())
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mood {
        Good,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct User {
        id: i64,
        email: Option<String>,
        mood: Mood,
        key: Vec<u8>,
        tags: Vec<String>,
        more: Value,
    }

    #[test]
    fn a_row_is_a_struct_a_tuple_or_its_one_value() {
        let id = ("id", Cell::Integer(7));
        let email = ("email", Cell::Text("a@b".to_owned()));
        let user = row(&[
            id.clone(),
            ("email", Cell::Null),
            ("mood", Cell::Text("good".to_owned())),
            ("key", Cell::Bytes(vec![1, 2])),
            ("tags", Cell::Json(serde_json::json!(["x"]))),
            ("more", Cell::Json(serde_json::json!({ "n": 1 }))),
        ]);
        let expected = User {
            id: 7,
            email: None,
            mood: Mood::Good,
            key: vec![1, 2],
            tags: vec!["x".to_owned()],
            more: serde_json::json!({ "n": 1 }),
        };
        assert_eq!(user.read::<User>().unwrap(), expected);
        assert_eq!(row(&[id.clone(), email.clone()]).read::<(u32, String)>().unwrap(), (7, "a@b".to_owned()));
        assert_eq!(row(std::slice::from_ref(&email)).read::<String>().unwrap(), "a@b");
        assert_eq!(row(&[("email", Cell::Null)]).read::<Option<String>>().unwrap(), None);
        assert_eq!(row(&[("key", Cell::Bytes(vec![3]))]).read::<Vec<u8>>().unwrap(), [3]);
        assert!(row(&[id, email]).read::<String>().unwrap_err().contains("2 columns"));
        assert!(row(&[("email", Cell::Null)]).read::<String>().unwrap_err().contains("NULL"));
    }
}
