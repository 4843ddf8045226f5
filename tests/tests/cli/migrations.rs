use super::support as _;
