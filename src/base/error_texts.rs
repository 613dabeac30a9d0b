//! `Display` for error types.

/// Implements `Display` for an error: `pattern => format string, arguments;` for each case.
/// `thiserror` does the same, but its macros would be a quarter of the crates that an embedder
/// builds.
macro_rules! error_texts {
    ($error:ident { $($(#[$cfg:meta])? $case:pat => $text:literal $(, $argument:expr)*;)+ }) => {
        impl std::fmt::Display for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $($(#[$cfg])? $case => write!(f, $text $(, $argument)*),)+
                }
            }
        }
    };
}

pub(crate) use error_texts;
