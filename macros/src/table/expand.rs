//! The code of a checked table.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Data, DeriveInput, ext::IdentExt, spanned::Spanned};

use super::{
    generics::Concrete,
    json::{Json, SEPARATOR},
    lists::{IndexAttr, PartKey, table_of},
    resolve::{Column, ColumnTy, Table},
};

fn root(path: Option<&syn::Path>) -> TokenStream {
    match path {
        Some(path) => quote!(#path::__private),
        None => quote!(::schemadiff::__private),
    }
}

/// The carrier of the columns' constants. Its name is what the compiler says about a field that does not exist.
fn carrier(input: &DeriveInput) -> Ident {
    format_ident!("ColumnsOf{}", input.ident.unraw())
}

/// The table's code.
pub fn expand(input: &DeriveInput, table: &Table, concrete: &Concrete) -> TokenStream {
    let (ident, arguments, aliases) = (&input.ident, &concrete.arguments, &concrete.aliases);
    let private = root(table.root.as_ref());
    let carrier = carrier(input);
    let name = &table.name;
    let schema = match &table.schema {
        Some(schema) => quote!(::core::option::Option::Some(#schema)),
        None => quote!(::core::option::Option::None),
    };
    let columns = table.columns.iter().map(|column| {
        let (field, column_name, ty) = (&column.field, &column.name, type_of(column, concrete));
        quote!(#field: Reference { schema: #schema, table: #name, column: #column_name, ty: #ty })
    });
    let fields = table.columns.iter().map(|column| &column.field);
    let checks = checks(input, table, concrete);
    let (text, fillings) = record(input, table, concrete).into_parts();
    quote! {
        const _: () = {
            #[allow(unused_imports)]
            use #private::{
                ColumnType, DerivedTable, Filling, NotNull as _, Probe, Reference, TypeDesc, check_default, check_not_null, check_nullable, check_reference,
            };
            #aliases
            #[allow(dead_code)]
            pub struct #carrier {
                #(pub #fields: Reference,)*
            }
            #[automatically_derived]
            impl DerivedTable for #ident #arguments {
                type Columns = #carrier;
                const COLUMNS: #carrier = #carrier { #(#columns,)* };
            }
            #(#checks)*
            #private::place!(#text, [#(#fillings),*]);
        };
    }
}

/// In place of the code of a table with mistakes: other structs can still refer to it.
pub fn stub(input: &DeriveInput, concrete: &Concrete, path: Option<&syn::Path>) -> TokenStream {
    let Data::Struct(data) = &input.data else { return TokenStream::new() };
    let (ident, arguments, aliases) = (&input.ident, &concrete.arguments, &concrete.aliases);
    let private = root(path);
    let carrier = carrier(input);
    let fields: Vec<_> = data.fields.iter().filter_map(|field| field.ident.as_ref()).collect();
    quote! {
        const _: () = {
            use #private::{DerivedTable, Reference, TypeDesc};
            #aliases
            #[allow(dead_code)]
            pub struct #carrier {
                #(pub #fields: Reference,)*
            }
            const ANY: Reference = Reference {
                schema: ::core::option::Option::None, table: "", column: "", ty: TypeDesc::named("", "", "", false),
            };
            #[automatically_derived]
            impl DerivedTable for #ident #arguments {
                type Columns = #carrier;
                const COLUMNS: #carrier = #carrier { #(#fields: ANY,)* };
            }
        };
    }
}

fn type_of(column: &Column, concrete: &Concrete) -> TokenStream {
    match &column.ty {
        ColumnTy::Trait(ty) => {
            let span = ty.span();
            let ty = concrete.ty(ty);
            quote_spanned!(span=> <#ty as ColumnType>::TYPE)
        }
        ColumnTy::Named(ty) => {
            let ty = concrete.ty(ty);
            let (postgres, mysql, sqlite) = match &column.attrs.ty {
                Some(given) => (&*given.postgres, &*given.mysql, &*given.sqlite),
                None => ("", "", ""),
            };
            quote!(TypeDesc::named(#postgres, #mysql, #sqlite, Probe::<#ty>::NULLABLE))
        }
        ColumnTy::Json(nullable) => quote!(TypeDesc::named("jsonb", "json", "TEXT", #nullable)),
    }
}

/// As [`type_of`], for the record.
fn filling_of(column: &Column, concrete: &Concrete) -> TokenStream {
    match &column.ty {
        ColumnTy::Trait(ty) => {
            let span = ty.span();
            let ty = concrete.ty(ty);
            quote_spanned!(span=> <#ty as ColumnType>::FILLING)
        }
        ColumnTy::Named(ty) => {
            let ty = concrete.ty(ty);
            let spellings = match &column.attrs.ty {
                Some(given) => spellings(&given.postgres, &given.mysql, &given.sqlite),
                None => spellings("", "", ""),
            };
            quote!(Filling::named(#spellings, Probe::<#ty>::NULLABLE))
        }
        ColumnTy::Json(nullable) => {
            let spellings = spellings("jsonb", "json", "TEXT");
            quote!(Filling::named(#spellings, #nullable))
        }
    }
}

fn spellings(postgres: &str, mysql: &str, sqlite: &str) -> String {
    [postgres, mysql, sqlite].map(|spelling| format!("{spelling}{SEPARATOR}")).concat()
}

/// What the compiler checks once the types are known.
fn checks(input: &DeriveInput, table: &Table, concrete: &Concrete) -> Vec<TokenStream> {
    let mut checks = Vec::new();
    let ident = &input.ident;
    let own = quote!(<#ident as DerivedTable>::COLUMNS);
    for key in &table.foreign_keys {
        for (field, reference) in key.columns.iter().zip(&key.references) {
            let target = target(input, reference);
            let span = reference.field.span();
            checks.push(quote_spanned!(span=> const _: () = check_reference(&#own.#field, &#target);));
        }
        if [key.on_delete, key.on_update].contains(&Some("set_null")) {
            // The engine would refuse the NULL when the parent goes, long after anybody looks here.
            checks.extend(key.columns.iter().map(|field| {
                let span = field.span();
                quote_spanned!(span=> const _: () = check_nullable(&#own.#field);)
            }));
        }
        if [key.on_delete, key.on_update].contains(&Some("set_default")) {
            let filled = |field: &&Ident| {
                let column = table.columns.iter().find(|column| column.field == **field);
                column.is_some_and(|column| column.attrs.default.is_some())
            };
            checks.extend(key.columns.iter().filter(|field| !filled(field)).map(|field| {
                let span = field.span();
                quote_spanned!(span=> const _: () = check_default(&#own.#field);)
            }));
        }
    }
    let key = table.primary_key.iter().flat_map(|key| &key.columns);
    for column in key.filter_map(|field| table.columns.iter().find(|column| column.field == *field)) {
        // Asked of the type and not of COLUMNS, which would have the compiler evaluate every column of every table.
        let (span, ty, name, table) = (column.field.span(), type_of(column, concrete), &column.name, &table.name);
        checks.push(quote_spanned!(span=> const _: () = check_not_null(&#ty, #table, #name);));
    }
    checks
}

fn target(input: &DeriveInput, reference: &super::lists::ReferenceAttr) -> TokenStream {
    let (target, field) = (table_of(reference, &input.ident), &reference.field);
    let span = reference.table.span();
    let columns = quote_spanned!(span=> <#target as DerivedTable>::COLUMNS);
    let span = field.span();
    quote_spanned!(span=> #columns.#field)
}

fn record(input: &DeriveInput, table: &Table, concrete: &Concrete) -> Json {
    let ident = input.ident.unraw().to_string();
    let mut json = Json::default();
    json.raw("{\"format\":1,\"rust\":")
        .hole('s', [quote!(Filling::text(::core::concat!(::core::module_path!(), "::", #ident)))])
        .raw(",\"location\":")
        .hole('s', [quote!(Filling::text(::core::concat!(::core::file!(), ":", ::core::line!())))])
        .raw(",\"name\":")
        .string(&table.name)
        .word_field("schema", table.schema.as_deref())
        .text_field("renamed_from", table.attrs.renamed_from.as_ref())
        .text_field("comment", table.attrs.comment.as_ref())
        .flag_field("strict", table.attrs.strict.is_some())
        .flag_field("without_rowid", table.attrs.without_rowid.is_some())
        .flag_field("unlogged", table.attrs.unlogged.is_some())
        .text_field("partition_by", table.attrs.partition_by.as_ref())
        .raw(",\"columns\":")
        .list(&table.columns, |json, column| write_column(json, column, concrete));
    if !table.attrs.partitions.is_empty() {
        json.raw(",\"partitions\":").list(&table.attrs.partitions, |json, partition| {
            json.raw("{\"bound\":").string(&partition.bound);
            json.text_field("name", Some(&partition.name)).text_field("schema", partition.schema.as_ref()).raw("}");
        });
    }
    write_keys(&mut json, table);
    json.raw(",\"foreign_keys\":").list(&table.foreign_keys, |json, key| {
        json.raw("{\"columns\":").list(&key.columns, |json, field| {
            json.string(table.column_name(field));
        });
        json.raw(",\"references\":").list(&key.references, |json, reference| {
            let target = target(input, reference);
            let fields = [quote!(schema_text()), quote!(table), quote!(column)];
            json.hole('r', fields.map(|field| quote!(Filling::text(#target.#field))));
        });
        json.text_field("name", key.name.as_ref())
            .word_field("on_delete", key.on_delete)
            .word_field("on_update", key.on_update)
            .word_field("deferrable", key.deferrable)
            .raw("}");
    });
    json.raw(",\"indexes\":").list(&table.indexes, |json, index| write_index(json, table, index));
    json.raw("}");
    json
}

fn write_column(json: &mut Json, column: &Column, concrete: &Concrete) {
    let (field, attrs, ty) = (&column.field, &column.attrs, filling_of(column, concrete));
    json.raw("{\"name\":")
        .string(&column.name)
        .raw(",\"field\":")
        .string(&field.unraw().to_string())
        .raw(",\"type\":")
        .hole('t', [ty]);
    if let Some(default) = &attrs.default {
        json.raw(",\"default\":{\"expr\":").string(&default.value()).raw("}");
    }
    if let Some(generated) = &attrs.generated {
        json.raw(",\"generated\":{\"expr\":").string(&generated.expr.value());
        json.raw(if generated.stored { ",\"stored\":true}" } else { ",\"stored\":false}" });
    }
    json.word_field("identity", attrs.identity)
        .text_field("collation", attrs.collation.as_ref())
        .text_field("comment", attrs.comment.as_ref())
        .text_field("renamed_from", attrs.renamed_from.as_ref())
        .text_field("backfill", attrs.backfill.as_ref())
        .text_field("backfill_with", attrs.backfill_with.as_ref())
        .raw("}");
}

fn write_keys(json: &mut Json, table: &Table) {
    let columns = |json: &mut Json, fields: &[Ident]| {
        json.raw("{\"columns\":").list(fields, |json, field| {
            json.string(table.column_name(field));
        });
    };
    if let Some(key) = &table.primary_key {
        json.raw(",\"primary_key\":");
        columns(json, &key.columns);
        json.text_field("name", key.name.as_ref()).word_field("deferrable", key.deferrable).raw("}");
    }
    json.raw(",\"uniques\":").list(&table.uniques, |json, unique| {
        columns(json, &unique.columns);
        json.text_field("name", unique.name.as_ref())
            .flag_field("nulls_not_distinct", unique.nulls_not_distinct)
            .word_field("deferrable", unique.deferrable)
            .raw("}");
    });
    json.raw(",\"checks\":").list(&table.checks, |json, (column, check)| {
        json.raw("{\"expr\":")
            .string(&check.expr.value())
            .word_field("column", column.as_deref())
            .text_field("name", check.name.as_ref())
            .raw("}");
    });
}

fn write_index(json: &mut Json, table: &Table, index: &IndexAttr) {
    json.raw("{\"parts\":").list(&index.parts, |json, part| {
        match &part.key {
            PartKey::Column(field) => json.raw("{\"column\":").string(table.column_name(field)),
            PartKey::Expr(expr) => json.raw("{\"expr\":").string(&expr.value()),
        };
        json.word_field("order", part.desc.then_some("desc"))
            .word_field("nulls", part.nulls)
            .text_field("opclass", part.opclass.as_ref())
            .text_field("collation", part.collation.as_ref())
            .raw("}");
    });
    json.raw(",\"include\":").list(&index.include, |json, field| {
        json.string(table.column_name(field));
    });
    json.text_field("name", index.name.as_ref())
        .flag_field("unique", index.unique)
        .text_field("method", index.method.as_ref())
        .text_field("where", index.predicate.as_ref())
        .flag_field("nulls_not_distinct", index.nulls_not_distinct)
        .raw("}");
}
