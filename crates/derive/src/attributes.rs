//! Reads `#[event(…)]`.

use crate::rules;
use proc_macro2::{Span, TokenTree};
use syn::{Attribute, DeriveInput, Error, LitInt, LitStr, Path, Result, Token, meta::ParseNestedMeta, parse::Parse};

/// What `#[event(…)]` says.
pub(crate) struct Attributes {
    pub(crate) event_type: LitStr,
    pub(crate) version: Option<u32>,
    pub(crate) subject: Option<LitStr>,
    pub(crate) partition_key: Option<LitStr>,
    pub(crate) krate: Path,
}

const EXAMPLE: &str = "as in #[event(type = \"order.placed\", version = 1, subject = \"order_id\")]";

impl Attributes {
    pub(crate) fn read(input: &DeriveInput) -> Result<Self> {
        let (mut event_type, mut version, mut subject, mut partition_key, mut krate) = (None, None, None, None, None);
        let mut found = false;
        for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("event")) {
            found = true;
            check_form(attribute)?;
            attribute.parse_nested_meta(|meta| match meta.path.get_ident().map(ToString::to_string).as_deref() {
                Some("type") => once(&meta, &mut event_type, "type = \"order.placed\""),
                Some("version") => once(&meta, &mut version, "version = 1"),
                Some("subject") => once(&meta, &mut subject, "subject = \"order_id\""),
                Some("partition_key") => once(&meta, &mut partition_key, "partition_key = \"customer\""),
                Some("crate") => once(&meta, &mut krate, "crate = \"::eventbus\""),
                _ => Err(meta.error(format!("unknown: write type, version, subject, partition_key or crate, {EXAMPLE}"))),
            })?;
        }
        let Some(event_type) = event_type else {
            let missing = if found { "the event type is missing" } else { "the attribute #[event(…)] is missing" };
            return Err(Error::new(input.ident.span(), format!("{missing}: add type, {EXAMPLE}")));
        };
        rules::check_event_type(&event_type)?;
        let krate = krate.as_ref().map_or_else(|| Ok(syn::parse_quote!(::eventbus)), crate_path)?;
        let version = version.as_ref().map(schema_version).transpose()?;
        Ok(Self { event_type, version, subject, partition_key, krate })
    }
}

/// Whether it is parentheses with names in them.
fn check_form(attribute: &Attribute) -> Result<()> {
    let Ok(list) = attribute.meta.require_list() else {
        return Err(Error::new_spanned(attribute, format!("what describes the event stands in parentheses: write it {EXAMPLE}")));
    };
    match list.tokens.clone().into_iter().next() {
        Some(TokenTree::Literal(value)) => {
            Err(Error::new(value.span(), "this value has no name: write something like type = \"order.placed\""))
        }
        _ => Ok(()),
    }
}

/// Reads the value of an attribute that may stand once. `example` is how it is written.
fn once<T: Parse>(meta: &ParseNestedMeta<'_>, slot: &mut Option<T>, example: &str) -> Result<()> {
    if slot.is_some() {
        return Err(meta.error("written twice: keep one"));
    }
    if !meta.input.peek(Token![=]) {
        return Err(meta.error(format!("the value is missing: write something like {example}")));
    }
    let value = meta.value()?;
    let read = value.fork().parse::<T>();
    if read.is_err() {
        return Err(value.error(format!("this is not the value it takes: write something like {example}")));
    }
    *slot = Some(value.parse()?);
    Ok(())
}

/// The path, as if the macro had written it, so that lints about written paths leave it alone.
fn crate_path(path: &LitStr) -> Result<Path> {
    LitStr::new(&path.value(), Span::call_site())
        .parse()
        .map_err(|_| Error::new(path.span(), "this is the path of a crate or module: write something like crate = \"::eventbus\""))
}

fn schema_version(version: &LitInt) -> Result<u32> {
    match version.base10_parse::<u32>() {
        Ok(number @ 1..=0x7FFF_FFFF) => Ok(number),
        _ => Err(Error::new(version.span(), "a schema version is a number from 1 to 2147483647: write something like version = 1")),
    }
}
