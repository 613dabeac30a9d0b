//! The paths of the HTTP server.

use super::query;

/// A path, with its parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Page,
    Live,
    Ready,
    Metrics,
    OpenApi,
    Agent,
    Members,
    Member(String),
    Coordinates,
    Flaps,
    Events,
    Targets,
}

impl Path {
    pub(super) fn parse(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Page,
            "/health/live" => Self::Live,
            "/health/ready" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/v1/openapi.json" => Self::OpenApi,
            "/v1/agent" => Self::Agent,
            "/v1/members" => Self::Members,
            "/v1/coordinates" => Self::Coordinates,
            "/v1/flaps" => Self::Flaps,
            "/v1/events" => Self::Events,
            "/v1/sd/prometheus" => Self::Targets,
            _ => Self::Member(query::decoded(path.strip_prefix("/v1/members/")?)),
        })
    }

    /// Whether the path needs no token.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Page | Self::Live | Self::Ready | Self::OpenApi)
    }
}

/// The OpenAPI description of all paths.
pub(super) const OPEN_API: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_description_has_every_path_and_no_other() {
        let description: Value = serde_json::from_str(OPEN_API).unwrap();
        let paths = description["paths"].as_object().unwrap();
        let mut found = Vec::new();
        for (path, item) in paths {
            let known = Path::parse(&path.replace("{name}", "a%20b"));
            let known = known.unwrap_or_else(|| panic!("{path} is not served"));
            let answers = item["get"]["responses"].as_object().unwrap();
            assert!(answers.contains_key("200"), "{path}");
            // An empty list says that the path needs no token.
            let is_open = item["get"]["security"].as_array().is_some_and(Vec::is_empty);
            assert_eq!(is_open, known.is_open(), "{path}");
            assert_eq!(answers.contains_key("401"), !is_open, "{path}");
            found.push(known);
        }
        for path in [
            Path::Page,
            Path::Live,
            Path::Ready,
            Path::Metrics,
            Path::OpenApi,
            Path::Agent,
            Path::Members,
            Path::Member("a b".to_owned()),
            Path::Coordinates,
            Path::Flaps,
            Path::Events,
            Path::Targets,
        ] {
            // Exhaustive, so that a new path must be added to this list.
            match path {
                Path::Page
                | Path::Live
                | Path::Ready
                | Path::Metrics
                | Path::OpenApi
                | Path::Agent
                | Path::Members
                | Path::Member(_)
                | Path::Coordinates
                | Path::Flaps
                | Path::Events
                | Path::Targets => assert!(found.contains(&path), "{path:?} is not described"),
            }
        }
        assert_eq!(Path::parse("/v1/member"), None);
        assert_eq!(Path::parse("/v1"), None);
    }
}
