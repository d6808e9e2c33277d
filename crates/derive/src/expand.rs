//! Writes the implementation.

use crate::attributes::Attributes;
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, Error, Fields, LitStr, Member, Result, Type};

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    check_shape(input)?;
    let Attributes { event_type, version, subject, partition_key, krate } = Attributes::read(input)?;
    let subject = subject.map(|field| accessor(input, "subject", &field)).transpose()?;
    let partition_key = partition_key.map(|field| accessor(input, "partition_key", &field)).transpose()?;
    let version = version.map(|version| quote! { const VERSION: u32 = #version; });
    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    // The rule has been checked. Here the crate that it comes from has the last word.
    let check = quote_spanned! { event_type.span() =>
        const _: () = ::core::assert!(
            #krate::is_valid_event_type(#event_type),
            "an event type is 1 to 16 tokens of [A-Za-z0-9_:/@+~-] joined by dots, at most 255 bytes",
        );
    };
    Ok(quote! {
        #check
        #[automatically_derived]
        impl #generics #krate::EventData for #name #arguments #bounds {
            const TYPE: &'static str = #event_type;
            #version
            #subject
            #partition_key
        }
    })
}

/// Refuses what can never be the data of an event, before the compiler says so in terms of serde.
fn check_shape(input: &DeriveInput) -> Result<()> {
    if let Data::Union(data) = &input.data {
        return Err(Error::new(
            data.union_token.span,
            "a union cannot be the data of an event, since serde cannot write it: use a struct or an enum",
        ));
    }
    match input.generics.lifetimes().next() {
        None => Ok(()),
        Some(lifetime) => Err(Error::new_spanned(
            lifetime,
            "the data of an event owns what it holds, for it outlives the publisher: use String instead of &str, Vec<T> instead of &[T]",
        )),
    }
}

/// The method that returns a field as text.
fn accessor(input: &DeriveInput, method: &str, field: &LitStr) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(
            field.span(),
            format!("only a struct has fields to be its {method}: implement EventData by hand for `{}`", input.ident),
        ));
    };
    let wanted = field.value();
    let mut members = data.fields.members();
    let found = members.position(|member| name_of(&member) == wanted);
    let Some((member, kind)) = found.and_then(|at| Some((data.fields.members().nth(at)?, &data.fields.iter().nth(at)?.ty))) else {
        return Err(Error::new(field.span(), format!("`{}` has no field `{wanted}`: {}", input.ident, known(&data.fields))));
    };
    let method = syn::Ident::new(method, field.span());
    // A field that has no text is complained about where it is named.
    let value = if is_option(kind) {
        quote_spanned! { field.span() => self.#member.as_ref().map(::std::string::ToString::to_string) }
    } else {
        quote_spanned! { field.span() => ::core::option::Option::Some(::std::string::ToString::to_string(&self.#member)) }
    };
    Ok(quote! {
        fn #method(&self) -> ::core::option::Option<::std::string::String> {
            #value
        }
    })
}

fn name_of(member: &Member) -> String {
    match member {
        Member::Named(name) => name.to_string().trim_start_matches("r#").to_owned(),
        Member::Unnamed(index) => index.index.to_string(),
    }
}

fn known(fields: &Fields) -> String {
    let names: Vec<_> = fields.members().map(|member| name_of(&member)).collect();
    if names.is_empty() {
        "it has no fields, so leave this out or implement EventData by hand".to_owned()
    } else {
        format!("write one of {}", names.join(", "))
    }
}

fn is_option(kind: &Type) -> bool {
    matches!(kind, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Option"))
}
