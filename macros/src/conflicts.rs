//! Tests of what the derive says about its neighbours' attributes, which no compile test can hold without their crates.

use proc_macro2::TokenStream;
use syn::parse_quote;

/// What the derive reports.
fn errors(tokens: TokenStream) -> Vec<String> {
    let text = tokens.to_string();
    text.match_indices("compile_error")
        .map(|(at, _)| {
            let rest = &text[at..];
            let open = rest.find('"').unwrap_or_default();
            let mut escaped = false;
            let end = rest[open + 1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            rest[open + 1..open + 1 + end.unwrap_or_default()].replace("\\\"", "\"")
        })
        .collect()
}

fn table(input: syn::DeriveInput) -> Vec<String> {
    errors(crate::table::derive(&input))
}

#[test]
fn two_names_for_a_column_are_a_conflict() {
    let found = table(parse_quote! {
        #[table(name = "t")]
        struct T { #[column(primary_key)] id: i64, #[column(name = "a")] #[sqlx(rename = "b")] x: i64 }
    });
    assert_eq!(
        found,
        [
            "the column is \"a\" in `#[column(name)]` and \"b\" in `#[sqlx(rename)]`: one of the row mappings would not find it"
        ]
    );
    let found = table(parse_quote! {
        #[table(name = "t")]
        #[sqlx(rename_all = "camelCase")]
        struct T { #[column(primary_key)] id: i64, #[diesel(column_name = user_name)] user_name: i64 }
    });
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("\"userName\" in `#[sqlx(rename_all)]` and \"user_name\" in `#[diesel(column_name)]`"));
}

#[test]
fn two_names_for_a_table_are_a_conflict() {
    let found = table(parse_quote! {
        #[table(name = "users")]
        #[diesel(table_name = crate::schema::people)]
        struct T { #[column(primary_key)] id: i64 }
    });
    assert_eq!(found, ["the table is \"users\" here and `people` in `#[diesel(table_name)]`: give it one name"]);
}

#[test]
fn two_primary_keys_are_a_conflict() {
    let found = table(parse_quote! {
        #[diesel(table_name = users, primary_key(code))]
        struct T { #[column(primary_key)] id: i64, code: i64 }
    });
    assert_eq!(found, ["the primary key differs from `#[diesel(primary_key(..))]`"]);
    let found = table(parse_quote! {
        #[diesel(table_name = users, primary_key(nobody))]
        struct T { id: i64 }
    });
    assert_eq!(found, ["no field of the struct is the key column \"nobody\""]);
}

#[test]
fn a_skipped_or_flattened_field_is_no_column() {
    let found = table(parse_quote! {
        #[table(name = "t")]
        struct T { #[column(primary_key)] id: i64, #[sqlx(skip)] #[column(unique)] x: i64, #[sqlx(flatten)] y: Y, #[diesel(embed)] z: Z }
    });
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("`#[sqlx(skip)]` says that the field is no column"));
    assert!(found[1].contains("behind `#[sqlx(flatten)]`"));
    assert!(found[2].contains("behind `#[diesel(embed)]`"));
}

#[test]
fn agreement_and_foreign_mistakes_are_no_conflict() {
    let found = table(parse_quote! {
        #[table(name = "users")]
        #[sqlx(rename_all = "camelCase", unknown(thing = 3))]
        #[diesel(table_name = crate::schema::users, primary_key(userId), check_for_backend(Pg))]
        #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
        struct T {
            #[sqlx(default)]
            user_id: i64,
            #[column(name = "mail")]
            #[sqlx(rename = "mail")]
            #[diesel(column_name = "mail", serialize_as = Other)]
            #[serde(rename = "EMAIL")]
            email: String,
        }
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn an_enums_names_must_agree() {
    let found = errors(crate::column_type::derive(&parse_quote! {
        #[column_type(name = "mood")]
        #[sqlx(type_name = "feeling", rename_all = "lowercase")]
        enum Mood { #[column_type(rename = "Happy")] Happy, #[sqlx(rename = "s")] Sad }
    }));
    assert_eq!(
        found,
        [
            "the type is \"mood\" here and \"feeling\" in `#[sqlx(type_name)]`: give it one name",
            "the label is \"Happy\" by `#[column_type]` and \"happy\" by `#[sqlx]`: let them agree"
        ]
    );
}

#[test]
fn an_enums_schema_is_found_wherever_it_stands() {
    let of = |input: syn::DeriveInput| crate::column_type::derive(&input).to_string();
    for input in [
        parse_quote! { #[column_type(name = "app.mood")] enum Mood { Happy } },
        parse_quote! { #[column_type(schema = "app")] #[sqlx(type_name = "app.mood")] enum Mood { Happy } },
        parse_quote! { #[column_type(schema = "app")] #[sqlx(type_name = "Mood")] enum Mood { Happy } },
        parse_quote! { #[sqlx(type_name = "\"app\".\"mood\"")] enum Mood { Happy } },
        parse_quote! { #[column_type(name = "app.mood")] #[sqlx(type_name = "mood")] enum Mood { Happy } },
    ] {
        let text = of(input);
        assert!(text.contains("\"app.mood\"") && !text.contains("compile_error"), "{text}");
    }
    let found = errors(crate::column_type::derive(&parse_quote! {
        #[column_type(schema = "app")] #[sqlx(type_name = "other.mood")] enum Mood { Happy }
    }));
    assert_eq!(found, ["the type is \"app.mood\" here and \"other.mood\" in `#[sqlx(type_name)]`: give it one name"]);
    let found = errors(crate::column_type::derive(&parse_quote! {
        #[column_type(name = "OrderStatus")] #[sqlx(type_name = "OrderStatus")] enum OrderStatus { New }
    }));
    assert_eq!(
        found,
        ["the type is \"OrderStatus\" here and \"orderstatus\" in `#[sqlx(type_name)]`: give it one name"],
        "sqlx asks the server, which reads it in small letters"
    );
}

#[test]
fn a_struct_with_a_raw_name_refers_to_itself() {
    let found = table(parse_quote! {
        #[table(name = "types")]
        struct r#type { #[column(primary_key)] id: i64, #[column(references = Self::id)] parent: Option<i64> }
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_mistake_brings_no_second_one_where_the_crate_has_another_name() {
    let code = crate::table::derive(&parse_quote! {
        #[table(name = "t", crate = platform::schemadiff)]
        struct T { #[column(primary_key, nonsense)] id: i64 }
    });
    assert!(!code.to_string().replace("platform :: schemadiff", "").contains("schemadiff ::"), "{code}");
    assert_eq!(errors(code).len(), 1);
}
