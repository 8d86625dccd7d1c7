"""Best of n by a learnt score of texts: a policy over a model that one can only call."""

from causalopt_rerank.backend import RerankBackend
from causalopt_rerank.endpoint import EndpointPolicy
from causalopt_rerank.policy import RerankPolicy

__all__ = ["EndpointPolicy", "RerankBackend", "RerankPolicy"]
