"""XCom JSON to Struct and back: pure functions."""
