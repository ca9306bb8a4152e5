//! What nodes are called.
//!
//! A [`NodeId`] is a node within its domain, a [`TrustDomain`] the domain, and a
//! [`SpiffeName`] both in the form a certificate carries:
//! `spiffe://<trust-domain>/node/<id>`
//! ([SPIFFE ID](https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md),
//! section 2, narrowed to lower case and one path shape). A value is checked where it
//! enters; whatever prints as a name also parses back to the same name.

use std::fmt;
use std::str::FromStr;

use crate::error::NameError;

/// A node id: 1 to 63 of `a-z 0-9 -`, so that it is also one DNS label long.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(String);

impl NodeId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > LONGEST_LABEL {
            return Err(NameError::NodeLength {
                found: text.chars().count(),
            });
        }
        if let Some(odd) = text.chars().find(|c| !is_label_char(*c)) {
            return Err(NameError::NodeCharacter {
                found: text.to_owned(),
                character: odd,
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A trust domain: a DNS name in lower case, at most 253 bytes, its labels 1 to 63
/// of `a-z 0-9 -` that neither begin nor end with `-` (RFC 1123 section 2.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(String);

impl TrustDomain {
    /// The domain as text, without a scheme.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that the domain's CA carries: `spiffe://<trust-domain>`, no path.
    pub fn uri(&self) -> String {
        format!("{SCHEME}{}", self.0)
    }

    /// The domain of a CA's name, see [`TrustDomain::uri`].
    ///
    /// # Errors
    /// The text has another scheme, a path, or a domain we do not take.
    pub fn from_uri(text: &str) -> Result<Self, NameError> {
        text.strip_prefix(SCHEME)
            .ok_or_else(|| NameError::Spiffe {
                found: text.to_owned(),
            })?
            .parse()
    }
}

impl FromStr for TrustDomain {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() <= LONGEST_DOMAIN && text.split('.').all(is_label) {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError::TrustDomain {
            found: text.to_owned(),
        })
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A node's whole name, as its certificate's URI SAN carries it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeName {
    /// The domain whose CA vouches for the node.
    pub trust_domain: TrustDomain,
    /// The node within that domain.
    pub node: NodeId,
}

impl FromStr for SpiffeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (trust_domain, node) = text
            .strip_prefix(SCHEME)
            .and_then(|rest| rest.split_once(NODE_PATH))
            .ok_or_else(|| NameError::Spiffe {
                found: text.to_owned(),
            })?;
        Ok(Self {
            trust_domain: trust_domain.parse()?,
            node: node.parse()?,
        })
    }
}

impl fmt::Display for SpiffeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trust_domain, node } = self;
        write!(f, "{SCHEME}{trust_domain}{NODE_PATH}{node}")
    }
}

const SCHEME: &str = "spiffe://";
const NODE_PATH: &str = "/node/";
/// RFC 1035 section 2.3.4.
const LONGEST_LABEL: usize = 63;
/// What 255 octets on the wire leave for the text of a name, RFC 1035 section 2.3.4.
const LONGEST_DOMAIN: usize = 253;

fn is_label_char(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= LONGEST_LABEL
        && label.chars().all(is_label_char)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every text of up to three characters over an alphabet that holds both sides
    /// of each border of the grammar.
    fn short_texts() -> Vec<String> {
        let alphabet = ['a', 'z', '0', '9', '-', '.', '/', 'A', '_', ' ', 'é', '\0'];
        let mut texts = vec![String::new()];
        let mut longest = texts.clone();
        for _ in 0..3 {
            longest = longest
                .iter()
                .flat_map(|text| alphabet.iter().map(move |c| format!("{text}{c}")))
                .collect();
            texts.extend_from_slice(&longest);
        }
        texts
    }

    #[test]
    fn a_node_id_is_exactly_1_to_63_of_its_alphabet() {
        for text in short_texts() {
            let good = !text.is_empty()
                && text
                    .bytes()
                    .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
            assert_eq!(text.parse::<NodeId>().is_ok(), good, "{text:?}");
        }
        assert!("x".repeat(63).parse::<NodeId>().is_ok());
        assert!("x".repeat(64).parse::<NodeId>().is_err());
    }

    #[test]
    fn a_trust_domain_looks_like_a_dns_name() {
        for good in ["edge", "example.edge", "a-b.c1", "1.2"] {
            assert!(good.parse::<TrustDomain>().is_ok(), "{good:?}");
        }
        for bad in [
            "", ".", "a.", ".a", "a..b", "-a", "a-", "A.b", "a_b", "a/b", "a:1",
        ] {
            assert!(bad.parse::<TrustDomain>().is_err(), "{bad:?}");
        }
        let long = vec!["x".repeat(63); 4].join(".");
        assert!(long.parse::<TrustDomain>().is_err());
        assert!(long[..253].parse::<TrustDomain>().is_ok());
    }

    #[test]
    fn whatever_parses_prints_back_to_the_same_text() {
        for domain in short_texts() {
            for node in ["a", "depot-7", "", "a/b", "a/node/b"] {
                let text = format!("spiffe://{domain}/node/{node}");
                let Ok(name) = text.parse::<SpiffeName>() else {
                    continue;
                };
                assert_eq!(name.to_string(), text);
                assert_eq!(name.trust_domain.as_str(), domain);
                assert_eq!(name.node.as_str(), node);
            }
        }
    }

    #[test]
    fn a_spiffe_name_has_one_shape() {
        assert!("spiffe://example.edge/node/a".parse::<SpiffeName>().is_ok());
        for bad in [
            "",
            "spiffe://",
            "spiffe://example.edge",
            "spiffe://example.edge/node/",
            "spiffe:///node/a",
            "SPIFFE://example.edge/node/a",
            "https://example.edge/node/a",
            "spiffe://example.edge/node/a/",
            "spiffe://example.edge/node/a?x",
            "spiffe://example.edge//node/a",
            "spiffe://user@example.edge/node/a",
            "spiffe://example.edge:1/node/a",
            "spiffe://example.edge/workload/a",
            "spiffe://example.edge/node/../node/a",
        ] {
            assert!(bad.parse::<SpiffeName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_bad_name_says_what_was_found() {
        let error = "Depot 7".parse::<NodeId>().expect_err("bad id");

        assert_eq!(
            error.to_string(),
            "node id \"Depot 7\" holds 'D' (use a-z, 0-9 and -)"
        );
    }
}
