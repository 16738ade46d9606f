"""KEDA's external scaler: demand on each Workload, pushed when it begins and answered when asked."""
