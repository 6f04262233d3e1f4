"""The stage around the domain: transport, store, agents, and the Faust app that wires them."""
