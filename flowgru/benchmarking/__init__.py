"""Time, memory and cost of models and operators, measured side by side."""
