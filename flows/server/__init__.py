"""What runs beside a run: Prefect's server, a store on this machine, and who may reach them."""
