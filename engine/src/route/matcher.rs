//! The compiled set of route keys: one tree by segments, all edges in one hash table.

use std::hash::{BuildHasher, Hasher};

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use smallvec::SmallVec;

use super::key::{Method, MethodKey, RouteKey, Segment};
use super::path::{PathShape, decode_segment};

/// Finds the route of a request by the precedence of H-ROUTE-16 to H-ROUTE-22.
///
/// Routes are numbered by the caller. A look-up costs one hash probe per segment and touches no other route, whatever
/// their number; only where a literal and a variable compete for one segment are both sides visited.
#[derive(Debug)]
pub struct Matcher {
    nodes: Vec<Node>,
    edges: Edges,
    default: Option<u32>,
    has_greedy: bool,
}

#[derive(Debug, Default)]
struct Node {
    /// Where `{name}` leads.
    variable: Option<u32>,
    /// Routes whose template ends here.
    leaf: Option<Box<Methods>>,
    /// Routes whose template goes on with `{name+}` here.
    greedy: Option<Box<Methods>>,
}

/// The routes of one path pattern (H-ROUTE-18).
#[derive(Debug, Default)]
struct Methods {
    exact: [Option<u32>; Method::ALL.len()],
    any: Option<u32>,
}

impl Methods {
    fn find(&self, method: Method) -> Option<u32> {
        self.exact[method as usize].or(self.any)
    }

    fn slot(&mut self, method: MethodKey) -> &mut Option<u32> {
        match method {
            MethodKey::Any => &mut self.any,
            MethodKey::Exact(method) => &mut self.exact[method as usize],
        }
    }
}

const ROOT: u32 = 0;

impl Matcher {
    /// The route for `method` and `path`, a path that [`inspect_path`](super::inspect_path) found to have `shape`; `None` is 404.
    ///
    /// `path` is without the query and without a stage segment or mapping key.
    pub fn find(&self, method: Method, path: &str, shape: PathShape) -> Option<u32> {
        let bytes = path.as_bytes();
        let rest = bytes.strip_prefix(b"/").unwrap_or(bytes);
        let search = Search { matcher: self, method, encoded: shape.encoded };
        // A pattern of literals and variables beats every greedy one (H-ROUTE-16), so that is a pass of its own.
        search
            .whole(ROOT, Some(rest))
            .or_else(|| if self.has_greedy { search.greedy(ROOT, Some(rest)) } else { None })
            .or(self.default)
    }
}

struct Search<'a> {
    matcher: &'a Matcher,
    method: Method,
    encoded: bool,
}

impl Search<'_> {
    /// Patterns without a greedy variable. `rest` is what follows the slash after this node; `None` at the end of the path.
    fn whole(&self, node: u32, rest: Option<&[u8]>) -> Option<u32> {
        let Some(rest) = rest else {
            return self.matcher.nodes[node as usize].leaf.as_ref()?.find(self.method);
        };
        let (segment, next) = split(rest);
        if let Some(child) = self.literal(node, segment)
            && let Some(route) = self.whole(child, next)
        {
            return Some(route);
        }
        let child = self.variable(node, segment)?;
        self.whole(child, next)
    }

    /// Patterns that end in a greedy variable: at each node literal beats `{name}` beats `{name+}` (H-ROUTE-17).
    fn greedy(&self, node: u32, rest: Option<&[u8]>) -> Option<u32> {
        let (segment, next) = split(rest?);
        if let Some(child) = self.literal(node, segment)
            && let Some(route) = self.greedy(child, next)
        {
            return Some(route);
        }
        if let Some(child) = self.variable(node, segment)
            && let Some(route) = self.greedy(child, next)
        {
            return Some(route);
        }
        self.matcher.nodes[node as usize].greedy.as_ref()?.find(self.method)
    }

    fn literal(&self, node: u32, segment: &[u8]) -> Option<u32> {
        if self.encoded {
            self.matcher.edges.find(node, &decode_segment(segment)?)
        } else {
            self.matcher.edges.find(node, segment)
        }
    }

    /// `{name}` takes no empty segment (H-ROUTE-20, H-ROUTE-25).
    fn variable(&self, node: u32, segment: &[u8]) -> Option<u32> {
        if segment.is_empty() { None } else { self.matcher.nodes[node as usize].variable }
    }
}

fn split(rest: &[u8]) -> (&[u8], Option<&[u8]>) {
    // Segments are short: a plain loop beats a vectorised search.
    match rest.iter().position(|&byte| byte == b'/') {
        Some(slash) => (&rest[..slash], Some(&rest[slash + 1..])),
        None => (rest, None),
    }
}

/// Edges of all nodes in one table, their texts in one arena: a probe touches two cache lines.
#[derive(Debug, Default)]
struct Edges {
    table: HashTable<Edge>,
    texts: Vec<u8>,
}

#[derive(Debug)]
struct Edge {
    parent: u32,
    child: u32,
    start: u32,
    length: u32,
}

impl Edges {
    fn find(&self, parent: u32, text: &[u8]) -> Option<u32> {
        self.table
            .find(hash(parent, text), |edge| edge.parent == parent && self.text(edge) == text)
            .map(|edge| edge.child)
    }

    fn text(&self, edge: &Edge) -> &[u8] {
        &self.texts[edge.start as usize..][..edge.length as usize]
    }

    fn insert(&mut self, parent: u32, text: &[u8], child: u32) {
        let start = self.texts.len().try_into().expect("route keys of one API are far below 4 GiB");
        let length = text.len().try_into().expect("a segment is shorter than a route key");
        self.texts.extend_from_slice(text);
        let texts = &self.texts;
        let rehash = |edge: &Edge| hash(edge.parent, &texts[edge.start as usize..][..edge.length as usize]);
        self.table.insert_unique(hash(parent, text), Edge { parent, child, start, length }, rehash);
    }
}

/// Keys come from configuration and only probes from clients, so a fast hash without a secret does.
fn hash(parent: u32, text: &[u8]) -> u64 {
    let mut hasher = FxBuildHasher.build_hasher();
    hasher.write_u32(parent);
    hasher.write(text);
    hasher.finish()
}

/// Collects route keys into a [`Matcher`].
#[derive(Debug)]
pub struct MatcherBuilder {
    matcher: Matcher,
}

impl Default for MatcherBuilder {
    fn default() -> Self {
        let matcher =
            Matcher { nodes: vec![Node::default()], edges: Edges::default(), default: None, has_greedy: false };
        Self { matcher }
    }
}

impl MatcherBuilder {
    /// Adds the route numbered `route`.
    ///
    /// # Errors
    /// The number of the route that already has this key, or one that differs only in variable names (H-ROUTE-6).
    pub fn insert(&mut self, key: &RouteKey, route: u32) -> Result<(), u32> {
        let slot = match key {
            RouteKey::Default => &mut self.matcher.default,
            RouteKey::Path { method, path } => {
                let mut node = ROOT;
                let mut greedy = false;
                for segment in path.segments() {
                    match segment {
                        Segment::Literal(text) => node = self.literal(node, text.as_bytes()),
                        Segment::Variable(_) => node = self.variable(node),
                        Segment::Greedy(_) => greedy = true,
                    }
                }
                self.matcher.has_greedy |= greedy;
                let node = &mut self.matcher.nodes[node as usize];
                let methods = if greedy { &mut node.greedy } else { &mut node.leaf };
                methods.get_or_insert_default().slot(*method)
            }
        };
        match *slot {
            Some(taken) => Err(taken),
            None => {
                *slot = Some(route);
                Ok(())
            }
        }
    }

    /// The matcher of all that was inserted.
    pub fn build(mut self) -> Matcher {
        self.matcher.nodes.shrink_to_fit();
        self.matcher.edges.texts.shrink_to_fit();
        self.matcher
    }

    fn literal(&mut self, node: u32, text: &[u8]) -> u32 {
        if let Some(child) = self.matcher.edges.find(node, text) {
            return child;
        }
        let child = self.node();
        self.matcher.edges.insert(node, text, child);
        child
    }

    fn variable(&mut self, node: u32) -> u32 {
        if let Some(child) = self.matcher.nodes[node as usize].variable {
            return child;
        }
        let child = self.node();
        self.matcher.nodes[node as usize].variable = Some(child);
        child
    }

    fn node(&mut self) -> u32 {
        let id = self.matcher.nodes.len().try_into().expect("nodes are fewer than bytes of route keys");
        self.matcher.nodes.push(Node::default());
        id
    }
}

/// Names and decoded values of the variables of a matched route (H-ROUTE-30).
///
/// Bytes that are not UTF-8 after decoding become U+FFFD.
pub fn decoded_variables<'t>(template: &'t super::PathTemplate, path: &str) -> SmallVec<[(&'t str, String); 4]> {
    template
        .bind(path)
        .map(|(name, raw)| {
            let decoded = decode_segment(raw.as_bytes()).unwrap_or(std::borrow::Cow::Borrowed(raw.as_bytes()));
            (name, String::from_utf8_lossy(&decoded).into_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests;
