"""What calls may spend: budgets of runs, agents, namespaces and API keys, shared by all replicas of the router."""
