//! A set of label names that is asked often.

use model::Text;

/// Label names, sorted, so that asking costs a binary search however many a query lists.
#[derive(Clone, Debug)]
pub(crate) struct Names<'a> {
    names: Vec<&'a str>,
}

impl<'a> Names<'a> {
    /// The names of a list, each once.
    pub(crate) fn new(names: &'a [Text]) -> Self {
        let mut names: Vec<&str> = names.iter().map(|name| &**name).collect();
        names.sort_unstable();
        names.dedup();
        Self { names }
    }

    /// Whether it is one of them.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.binary_search(&name).is_ok()
    }
}
