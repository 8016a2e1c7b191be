"""Language models behind endpoints that speak OpenAI's protocol: what is asked of a row, and what an answer becomes."""
