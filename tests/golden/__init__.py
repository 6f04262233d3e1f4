"""Facts from other billing systems, priced here."""
