//! Reads `#[event(…)]`.

use syn::{DeriveInput, Error, LitInt, LitStr, Path, Result, meta::ParseNestedMeta};

/// What `#[event(…)]` says.
pub(crate) struct Attributes {
    pub(crate) event_type: LitStr,
    pub(crate) version: Option<LitInt>,
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
            attribute.parse_nested_meta(|meta| match meta.path.get_ident().map(ToString::to_string).as_deref() {
                Some("type") => once(&meta, &mut event_type),
                Some("version") => once(&meta, &mut version),
                Some("subject") => once(&meta, &mut subject),
                Some("partition_key") => once(&meta, &mut partition_key),
                Some("crate") => once(&meta, &mut krate),
                _ => Err(meta.error(format!("unknown: write type, version, subject, partition_key or crate, {EXAMPLE}"))),
            })?;
        }
        let Some(event_type) = event_type else {
            let missing = if found { "the event type is missing" } else { "the attribute #[event(…)] is missing" };
            return Err(Error::new(input.ident.span(), format!("{missing}: add type, {EXAMPLE}")));
        };
        let krate: Option<LitStr> = krate;
        let krate = match krate {
            Some(path) => path.parse()?,
            None => syn::parse_quote!(::eventbus),
        };
        if let Some(version) = &version {
            check_version(version)?;
        }
        Ok(Self { event_type, version, subject, partition_key, krate })
    }
}

fn once<T: syn::parse::Parse>(meta: &ParseNestedMeta<'_>, slot: &mut Option<T>) -> Result<()> {
    if slot.is_some() {
        return Err(meta.error("written twice: keep one"));
    }
    *slot = Some(meta.value()?.parse()?);
    Ok(())
}

fn check_version(version: &LitInt) -> Result<()> {
    match version.base10_parse::<u32>() {
        Ok(1..=0x7FFF_FFFF) => Ok(()),
        _ => Err(Error::new(version.span(), "a schema version is a number from 1 to 2147483647: write version = 1")),
    }
}
